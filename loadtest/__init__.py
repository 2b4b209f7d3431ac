"""Load tests with locust, and reports of latency, status codes and the number of pods."""
