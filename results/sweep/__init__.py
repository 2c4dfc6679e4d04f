"""`slipway sweep`: trials of values of options, stopped early where others do better, and what did best."""
