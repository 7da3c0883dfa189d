"""Studies: comparisons with a question, whose answer is a document."""
