"""A hardware report -> one HTML page with its pictures, without any other file or network."""
