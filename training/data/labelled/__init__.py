"""Pictures and texts with a label: files in class folders, rows of tables, and their splits."""
