"""Networks in the shapes that trainers export, small and made by code: what `edged pack` is tried on."""
