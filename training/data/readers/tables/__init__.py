"""Readers of tables: CSV, time series, Parquet, and what `datasets` opens."""
