"""From files to trees: rows, records, images, rendered token ids, packed batches."""
