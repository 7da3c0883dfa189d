"""Steps that several methods take."""
