"""What the models' part adds to the command `retint`."""
