"""edged camera: one process owns a camera and shares its frames in memory, for as many daemons as want them."""
