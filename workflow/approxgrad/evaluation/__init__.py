"""From attributions to numbers: measures of agreement, their uncertainty, and comparisons."""
