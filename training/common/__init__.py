"""What every room may use. Imports no other room; the launcher imports it too."""
