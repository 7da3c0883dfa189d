"""Methods that minimize on spheres."""
