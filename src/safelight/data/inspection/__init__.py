"""What a set of pictures holds that its owner should know: one question a file, nothing judged."""
