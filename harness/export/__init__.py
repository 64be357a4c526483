"""What leaves a workdir for others: face sets and recognizers, each with a card that says what it is."""
