"""Files, webhooks and MQTT as sinks of a stream; events, which the latter two send."""
