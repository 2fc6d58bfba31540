"""What is given: network, task, curriculum, initial weights, loss."""
