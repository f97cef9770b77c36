"""The output filter: nothing leaves a generator or an API that is too near a protected picture."""
