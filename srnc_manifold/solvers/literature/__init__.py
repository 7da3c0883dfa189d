"""Methods of the literature, as published and repaired."""
