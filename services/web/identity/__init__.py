"""Identity: who sent a picture, by API key or by a token of an OpenID Connect issuer."""
