"""The console command `elastic-yolo`."""
