"""What a cell is: clusters, states, labels carried over, and how well an embedding separates them."""
