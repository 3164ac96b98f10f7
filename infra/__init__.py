"""The Pulumi program: provisions the NeMo stack on the target that the stack's config names."""
