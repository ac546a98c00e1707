"""From records to rows: what a table holds, and how its rows compare."""
