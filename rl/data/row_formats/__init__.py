"""The layouts of rows that are understood: one file each, and the folder is the registry.

A new format is a new file here (or a function of your own, named `format: ./mine.py:to_row` in a
recipe). It holds a function that turns a row into one of a known format:

    @row_format(name="captions", key="caption", examples={"demonstration": {...}})
    def to_row(row: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [...], "images": [row["file_name"]]}

Rows are found by `key`: no two formats may have the same. docs/extending.md has a complete example.
"""
