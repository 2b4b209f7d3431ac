"""What can be known of a picture from its bytes alone, without decoding it. Standard library only."""
