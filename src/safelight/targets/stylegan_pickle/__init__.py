"""Published StyleGAN pickles, read without executing anything in them.

Loading such a file the usual way runs the source text that it carries. Here its opcodes are
interpreted on inert values, and only a short list of constructions is understood at all; what is
not on the list is refused, whether or not it would do harm.
"""
