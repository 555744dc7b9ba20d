"""What `benches/compare/run` is made of."""
