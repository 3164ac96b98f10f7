"""Stand-ins for the Helm charts of a stack: they take the values of the real charts and start what kwok can simulate.

Each is a stand-in: what is proven with it is our program, not the templates of NVIDIA or anyone else. It refuses a
value that the real chart does not know (see `shapes`), shows the values it got in the ConfigMap `<release>-values`, and
makes the workloads, Services, volumes and GPU requests of the real chart with the names, ports and values that count
here. It has no RBAC, no probes, no webhooks and none of the software.

    shapes      which values each real chart knows, derived from that chart
    catalog     what each stand-in makes: a few lines a chart
    generate    writes the charts into a folder, as `nemostack:charts.source` wants them
"""
