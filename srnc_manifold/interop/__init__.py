"""Other packages' problems and optimizers."""
