# Exports what https://github.com/leptonai/scripts/blob/main/lepton_env_to_pytorch.sh does, under its name.
export MASTER_ADDR="${LEPTON_JOB_WORKER_PREFIX}-0.${LEPTON_SUBDOMAIN}"
export MASTER_PORT=29400
export NNODES="${LEPTON_JOB_TOTAL_WORKERS}"
export NODE_RANK="${LEPTON_JOB_WORKER_INDEX}"
WORKER_ADDRS=
index=1
while [ "$index" -lt "$NNODES" ]; do
    WORKER_ADDRS="${WORKER_ADDRS:+$WORKER_ADDRS,}${LEPTON_JOB_WORKER_PREFIX}-${index}.${LEPTON_SUBDOMAIN}"
    index=$((index + 1))
done
export WORKER_ADDRS
