ARG BASE
FROM $BASE
RUN echo one > /base
