//! JWTs: issuer by iss, key by kid, signature, claims (RFC 7515, RFC 7519, RFC 8725).
