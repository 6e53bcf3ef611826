"""The demo corpus: small synthetic talking faces, generated on first use."""
