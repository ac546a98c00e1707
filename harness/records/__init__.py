"""The results folder: schema, the one reader and writer, and who is compared."""
