"""New clips from a camera or from videos: where frames come from, what finds landmarks in them, where clips are kept."""
