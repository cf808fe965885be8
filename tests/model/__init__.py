"""The voting rules on their own: every interleaving of few validators and few views, explored to the end."""
