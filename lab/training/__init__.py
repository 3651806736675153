"""How the bundled model `lab-tiny` is made: dialogues, tokenizer, training and its evaluation."""
