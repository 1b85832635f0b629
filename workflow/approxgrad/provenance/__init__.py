"""What a result came from: code, inputs and libraries."""
