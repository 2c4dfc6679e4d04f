"""The embedded data set: fingerspelled letters by an articulated hand."""
