"""What kind of file a photo is, how its pixels are read, and how a result like it is written."""
