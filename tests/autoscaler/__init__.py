"""What the autoscaler lab and the load test share."""
