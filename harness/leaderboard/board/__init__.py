"""From records to rows: what stands in a table, and how its rows compare."""
