"""The raster Export Service; README, section Architecture, says where what is."""
