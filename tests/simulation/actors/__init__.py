"""Validators that do not follow the rules, each with a name for what it does. All sign with their own key only."""
