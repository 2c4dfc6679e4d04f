"""The device-agnostic loop: recipe + plan + task -> weights, journal, report. Rooms import only from rooms below them."""
