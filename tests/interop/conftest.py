"""What is no test here: a script that runs in a process of its own."""

collect_ignore = ["train_keras.py"]
