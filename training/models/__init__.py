"""The bundled models: functions of the sample alone, so that every plan computes the same."""
