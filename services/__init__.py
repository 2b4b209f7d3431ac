"""The services. Each is a package that imports `services.common` and no other service."""
