"""The table of routes: which back end gets a picture, by model, headers, tenant and weights."""
