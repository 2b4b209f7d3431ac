"""Takes pictures from people and programs, and answers with boxes."""
