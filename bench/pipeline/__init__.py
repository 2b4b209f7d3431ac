"""The whole pipeline under load, compared with a bare loop without HTTP."""
