"""What a person writes: the documents, how they are read, and how mistakes in them are explained."""
