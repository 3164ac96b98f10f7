"""Routes to the services: Gateway API or Ingress, certificates, load balancers."""
