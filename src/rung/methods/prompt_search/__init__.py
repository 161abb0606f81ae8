"""Hard prompt tuning: instructions and examples are searched for, and the candidates raced."""
